"""The pages of the documentation: links, commands, code, public names."""

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest

import segalias_jax
from segalias_jax import cli

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md")) + [
    REPOSITORY / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "benchmarks/README.md",
        "notebooks/README.md",
    )
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.S | re.M)
# What a page may call besides the commands of this repository.
OTHERS = {"ls", "pip", "git", "cd", "source", "gcloud", "srun", "test", "apt-get", "pre-commit"}


def named(path):
    return path.relative_to(REPOSITORY).as_posix()


def blocks(path, language):
    return [code for kind, code in BLOCK.findall(path.read_text()) if kind == language]


def commands(code):
    lines = code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


EVERY = {
    shlex.join(words): words
    for page in PAGES
    for code in blocks(page, "bash")
    for words in commands(code)
}


@pytest.mark.parametrize("words", EVERY.values(), ids=EVERY.keys())
def test_command_exists(words):
    while re.match(r"[A-Z_]+=", words[0]) or words[0] == "srun":
        words = words[1:]
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (REPOSITORY / "Makefile").read_text(), re.M)
    elif words[0] == "segalias":
        check_flags(words[1:])
    elif words[0].split("/")[-1] == "python":
        check_script(words[1:])
    else:
        assert words[0].removeprefix(".venv/bin/") in OTHERS, f"no check for {words[0]}"


def check_script(words):
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1]) or (REPOSITORY / words[1].split(".")[0]).is_dir()
    elif words[0] in ("train.py", "eval.py"):
        check_flags([words[0].removesuffix(".py"), *words[1:]])
    elif words[0] != "-c":
        assert (REPOSITORY / words[0]).is_file(), words[0]


def check_flags(words):
    if "--help" in words:
        assert words[0] in cli.COMMANDS
        return
    recipe = next((word for word in words if re.match(r"\w+\.py(:|$)", word)), None)
    if (words[0] == "eval" and "--config" not in words) or recipe:
        # The recipe is that of a run, or of a file, which are not here.
        own = [word for word in words[1:] if not word.startswith("--config.")]
        if recipe:
            own = [word for word in own if word not in ("--config", recipe)]
        assert cli.create_parser(words[0]).parse(own).workdir
        return
    words = [word for word in words if not word.startswith("--config.model.imports=")]
    run, given = cli.parse_command([re.sub(r"=two_stages$", "=resnet18", word) for word in words])
    assert callable(run) and given


def anchors(path):
    """Of all headings, as sites and hosts of repositories make them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M)
    words = (re.sub(r"[^\w\- ]", "", h.lower()) for h in re.findall(r"^#+ (.*)", text, re.M))
    return {word.strip().replace(" ", "-") for word in words}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def is_light(words):
    """Whether a command of a page runs here: scores and samples of files that the page drew."""
    return words[:2] == ["segalias", "score"] or words[:2] == ["segalias", "browse"]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=named)
def test_code_runs(page, library, tmp_path, monkeypatch):
    """Blocks of a page in order, in an empty folder; light commands on what they wrote."""
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": "page"}
    for kind, code in BLOCK.findall(page.read_text()):
        if kind == "python":
            for package in ("equinox", "haiku", "keras"):
                if re.search(rf"^import {package}\b", code, re.M):
                    library(package)
            exec(compile(code, named(page), "exec"), scope)
        for words in commands(code) if kind == "bash" else []:
            folders = [word for word in words[2:4] if Path(word).is_dir()]
            if is_light(words) and (len(folders) == 2 or "--config.data.root=shapes" in words):
                assert cli.main(words[1:]) == 0


def test_nuclei_are_those_of_the_result():
    result = json.loads((REPOSITORY / "benchmarks/results/nuclei_tiny.json").read_text())
    scores, threshold = result["scores"], result["settings"]["threshold"]
    shown = [f"{100 * scores[key]:.1f}" for key in ("accuracy_50", "PQ")]
    shown += [str(scores[key]) for key in ("missed", "merged", "false")]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (DOCS / "instances.md").read_text().splitlines()
    ]
    assert ["0.3", str(threshold), *shown] in rows
    assert f"reached PQ {shown[1]} on val" in (REPOSITORY / "configs/nuclei.py").read_text()


def test_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 200


@pytest.fixture
def reference(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "_site")
    return importlib.import_module("reference")


def test_every_public_name_is_in_the_reference(reference):
    every = reference.packages()
    assert {"segalias_jax.ops", "segalias_jax.scoring.instances"} <= set(every)
    overview = reference.overview()
    for package, names in every.items():
        assert names == importlib.import_module(package).__all__
        text = reference.reference(package)
        for name in names:
            own = f"{package}.{name}"
            assert f"::: {own}\n" in text or own in every
            assert f"`{name}`" in overview
    for name in set(segalias_jax.__all__) - {"runs"}:  # which commands are for
        assert f"`sa.{name}`" in overview or f"segalias_jax.{name}" in every


def test_every_command_and_page_is_in_the_site(reference):
    made = reference.commands()
    assert all(f"## segalias {name}\n" in made for name in cli.COMMANDS)
    assert "optimizer.learning_rate = " in made
    settings = (REPOSITORY / "mkdocs.yml").read_text()
    for page in DOCS.rglob("*.md"):
        assert f"- {page.relative_to(DOCS).as_posix()}\n" in settings


def test_hosted_checks_call_targets_that_exist():
    makefile = (REPOSITORY / "Makefile").read_text()
    found = []
    for path in (REPOSITORY / ".github" / "workflows").glob("*.yml"):
        found += re.findall(r"run: make ([\w-]+)", path.read_text())
    assert {"lint", "test", "docs", "release-check"} <= set(found)
    assert all(re.search(rf"^{name}:", makefile, re.M) for name in found)


def test_versions_agree():
    version = segalias_jax.__version__
    assert f"\nversion: {version}\n" in (REPOSITORY / "CITATION.cff").read_text()
    assert re.search(rf"^## {re.escape(version)} ", (REPOSITORY / "CHANGELOG.md").read_text(), re.M)
