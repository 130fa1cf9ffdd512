"""Reports in notebooks."""

from segalias_jax.notebook import ShownInNotebooks, text_as_html


class Report(ShownInNotebooks):
    def table(self):
        return "first\n\n| name | n |\n|------|--:|\n| a<b  | 1 |\n\nlast\nline"


def test_tables_become_tables_and_text_keeps_its_lines():
    shown = Report()._repr_html_()
    assert shown == (
        "<pre>first</pre><table><tr><th>name</th><th>n</th></tr>"
        "<tr><td>a&lt;b</td><td>1</td></tr></table><pre>last\nline</pre>"
    )


def test_a_row_of_numbers_below_the_header_is_no_rule():
    assert text_as_html("| a |\n| -1 |").count("<tr>") == 2
