"""The parser of flags that all commands share."""

import pytest

from segalias_jax.errors import FlagParser, InputError, check_choice


@pytest.fixture
def parser():
    parser = FlagParser("look", "  as it is\n\n  line by line")
    parser.add_argument("src", nargs="*")
    parser.add_argument("--num-classes", type=int, default=19)
    parser.add_argument("--out", required=True)
    parser.add_argument("--no-check", action="store_true")
    return parser


@pytest.mark.parametrize(
    "line, expected",
    [
        ("--out o", (19, "o", False, [])),
        ("--num-classes 3 --out=o", (3, "o", False, [])),
        ("--num_classes 3 --out=o_o", (3, "o_o", False, [])),
        ("--num_classes=3 --out o", (3, "o", False, [])),
        ("--nocheck --out o", (19, "o", True, [])),
        ("a --out o b", (19, "o", False, ["a", "b"])),
    ],
)
def test_spellings_and_places(parser, line, expected):
    flags = parser.parse(line.split())
    assert (flags.num_classes, flags.out, flags.no_check, flags.src) == expected


@pytest.mark.parametrize(
    "line, message",
    [
        ("--otu x", "unknown flag --otu; did you mean --out\\? look --help lists the flags"),
        ("--speed 3 --out o", "unknown flag --speed; look --help"),
        ("--num 3 --out o", "unknown flag --num;"),  # no abbreviation
        ("--num-classes x --out o", "--num-classes: invalid int value: 'x'; look --help"),
        ("", "^--out is missing; look --help lists the flags$"),
        ("--out", "--out: expected one argument"),
    ],
)
def test_errors_are_one_sentence(parser, line, message):
    with pytest.raises(InputError, match=message) as caught:
        parser.parse(line.split())
    assert "\n" not in str(caught.value)


def test_what_is_surplus_and_several_missing():
    parser = FlagParser("look")
    for name in ("--run", "--out"):
        parser.add_argument(name, required=True)
    with pytest.raises(InputError, match="^--run and --out are missing; look --help"):
        parser.parse([])
    with pytest.raises(InputError, match="argument 'more' is not expected; flags start with --"):
        parser.parse("--run=a --out=b more".split())


def test_help_keeps_the_lines_of_its_text(parser, capsys):
    with pytest.raises(SystemExit) as end:
        parser.parse(["--help"])
    assert end.value.code == 0
    assert "  as it is\n\n  line by line\n" in capsys.readouterr().out


def test_choices():
    check_choice("band", "reference", ("symmetric", "reference"))
    with pytest.raises(InputError, match=r"^band is 'x'; choose one of symmetric, reference$"):
        check_choice("band", "x", ("symmetric", "reference"))
    with pytest.raises(InputError, match=r"did you mean 'mIoU'\? choose one of mIoU, mAcc$"):
        check_choice("score", "miou", ("mIoU", "mAcc"))  # half of the letters are other ones
