"""Each code block of the documentation holds: it runs, or the program that it is for takes it."""

from __future__ import annotations

import ast
import configparser
import inspect
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.template import engines
from playwright.async_api import Page

from django_import_progress import SyncProgressManager

from ..conftest import missing
from ..kit.commandlines import commands, parsed
from ..kit.documented import Block, blocks, blocks_of, pages
from ..kit.nginx import nginx_binary, refusal
from ..kit.processes import RedisProcess
from ..kit.started import ROOT
from ..kit.waiting import until

BLOCKS = [block for page in pages() for block in blocks(page)]
DOCUMENTED_REDIS = "redis://localhost:6379/0"

Check = Callable[["Ground", Block], Any]


class Ground:
    """What blocks stand on: what a page leaves to its reader, and which Redis there is."""

    def __init__(self, jobs: SyncProgressManager, server: RedisProcess, folder: Path) -> None:
        self.redis_url = server.url
        self.folder = folder
        self.job_id = jobs.create()
        self.request = HttpRequest()
        self.request.user = self.user = User(pk=7, username="reader")
        self.request.META["HTTP_HOST"] = "testserver"

    def names(self) -> dict[str, Any]:
        """Return what a block of Python may use without a word."""
        return {
            "job_id": self.job_id,
            "reader": ["a row", "another one"],
            "request": self.request,
            "save": lambda row: row == "a row",
            "user": self.user,
        }


def followed(block: Block) -> None:
    assert block.page in FOLLOWED, f"{block} is for {block.file}, and no test follows it"


async def python(ground: Ground, block: Block) -> None:
    """Run it; what is for a file of a project is run by the tests that follow the page."""
    code = block.code.replace(DOCUMENTED_REDIS, ground.redis_url)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    compiled = compile(code, str(block), "exec", flags=flags, dont_inherit=True)
    if block.file:
        followed(block)
    elif inspect.isawaitable(waiting := eval(compiled, ground.names())):  # noqa: S307
        await waiting


def django(ground: Ground, block: Block) -> None:
    """Render it; what is for a file is rendered by the tests that follow the page."""
    if block.file:
        followed(block)
    else:
        template = engines["django"].from_string(block.code)
        names = {"job_id": ground.job_id, "job_ids": [ground.job_id]}
        assert template.render(names, ground.request).strip()


def shell(_: Ground, block: Block) -> None:
    for words in commands(block.code):
        parsed(words)


def nginx(ground: Ground, block: Block) -> None:
    binary = nginx_binary()
    if binary is None:  # pragma: no cover - where the machine has everything
        missing("nginx")
    assert refusal(str(binary), block.code, ground.folder) == ""


def ini(_: Ground, block: Block) -> None:
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(block.code)
    [words] = commands(parser["Service"]["ExecStart"])
    parsed([Path(words[0]).name, *words[1:]])


def dockerfile(_: Ground, block: Block) -> None:
    for line in block.code.splitlines():
        instruction, _, rest = line.partition(" ")
        assert instruction in {"FROM", "WORKDIR", "COPY", "RUN", "USER"}, line
        if instruction == "RUN":
            shell(_, Block(block.page, block.line, "sh", rest))


def requirements(_: Ground, block: Block) -> None:
    assert block.file == "requirements.txt", f"{block} is drawn, or what?"
    shell(_, Block(block.page, block.line, "sh", f"pip install {' '.join(block.code.split())}"))


CHECKS: dict[str, Check] = {
    "": lambda *_: None,  # Prose, drawn.
    "console": shell,
    "dockerfile": dockerfile,
    "django": django,
    "ini": ini,
    "json": lambda _, block: json.loads(block.code),
    "nginx": nginx,
    "python": python,
    "sh": shell,
    "text": requirements,
    "toml": lambda _, block: tomllib.loads(block.code),
    "yaml": lambda _, block: yaml.safe_load(block.code),
}
"""By language. What has another one is checked in a browser, or fails."""

FOLLOWED = {
    "README.md": "test_quickstart.py",
    "docs/admin.md": "test_howtos.py",
    "docs/channels.md": "test_howtos.py",
    "docs/django-ninja.md": "test_ninja_page.py",
    "docs/docker-compose.md": "test_howtos_compose.py",
    "docs/history.md": "test_history.py",
    "docs/htmx.md": "test_howtos.py",
    "docs/install.md": "test_site.py",
    "docs/import-export.md": "test_import_export_page.py",
    "docs/metrics.md": "test_howtos.py",
    "docs/protocol.md": "test_protocol.py",
    "docs/reference.md": "test_howtos.py",
    "docs/rejected-rows.md": "test_rejected_rows.py",
    "docs/security.md": "test_security_recipe.py",
    "docs/signals.md": "test_signals_recipe.py",
    "docs/task-queues.md": "test_howtos.py",
    "docs/testing.md": "test_howtos.py",
    "docs/threads.md": "test_howtos.py",
    "docs/tutorial.md": "test_tutorial.py",
}
"""The pages that a new project follows to the letter, and the test in which it does."""


@pytest.fixture
def ground(
    jobs: SyncProgressManager, server: RedisProcess, settings: Any, tmp_path: Path
) -> Ground:
    settings.TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}  # db_worker asks.
    return Ground(jobs, server, tmp_path)


async def hold(ground: Ground, block: Block) -> None:
    """See that a block holds."""
    checked: Any = CHECKS[block.language](ground, block)
    if inspect.isawaitable(checked):
        await checked


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language != "js"], ids=str)
async def test_a_block_holds(ground: Ground, block: Block) -> None:
    await hold(ground, block)


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("console", "$ python manage.py import_progress watch\n"),
        ("django", "{% import_progress job_id %}"),
        ("django", "{# shop/page.html #}\n{% load import_progres %}"),
        ("dockerfile", "FORM python:3.13-slim\n"),
        ("dockerfile", "RUN python manage.py collect\n"),
        ("fortran", "END"),
        ("ini", "[Service]\nExecStart=/srv/bin/python manage.py import_progress really\n"),
        ("json", "{'a': 1}"),
        ("nginx", "location / { proxy_pas http://127.0.0.1:1; }\n"),
        ("nginx", "server { listen 80; buffering off; }\n"),
        ("python", "from django_import_progress import track_imports\n"),
        ("python", "# shop/views.py\ndef start(request:\n"),
        ("python", "# shop/views.py\nstart = None\n"),
        ("python", "await progress.update(job_id, {})\n"),
        ("sh", "celery -A mysite worker --no-such-option\n"),
        ("sh", "celery -A mysite wroker\n"),
        ("sh", "make -j coffee\n"),
        ("sh", "npm install\n"),
        ("sh", 'pip install "django-import-progress[no-such-extra]"\n'),
        ("sh", "python manage.py import_progres list\n"),
        ("sh", "python -m no_such_module\n"),
        ("sh", "python no_such_script.py\n"),
        ("sh", "uvicorn mysite.asgi:application --timeout-shutdown 1\n"),
        ("sh", "hypercorn mysite.asgi:application --not-as-it-is-tested\n"),
        ("text", "# requirements.txt\ndjango-import-progress[no-such-extra]\n"),
        ("toml", "a = b"),
        ("yaml", "a: [b"),
    ],
)
async def test_a_block_that_does_not_hold_is_found(
    ground: Ground, language: str, code: str
) -> None:
    [block] = blocks_of(f"Like this:\n\n```{language}\n{code}\n```\n", "docs/example.md")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each language has its own
        await hold(ground, block)
    assert not isinstance(caught.value, TypeError | AttributeError), "it is the check that broke"


def test_a_line_that_only_comments_is_no_command() -> None:
    assert list(commands("# say so\nmake test  # like this\n\n")) == [["make", "test"]]


def test_no_block_is_where_nobody_looks() -> None:
    for page in pages():
        text = Path(ROOT / page).read_text(encoding="utf-8")
        assert len(re.findall("```", text)) == 2 * len(blocks(page)), page


def test_each_page_that_is_followed_is_so_by_the_test_that_is_named() -> None:
    for page, test in FOLLOWED.items():
        assert page.removeprefix("docs/") in (ROOT / "tests" / "docs" / test).read_text(), page


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "js"], ids=str)
async def test_a_script_runs(page: Page, block: Block) -> None:
    await page.add_script_tag(content=block.code, type="module")


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_a_script_that_does_not_run_is_found(page: Page, complaints: list[str]) -> None:
    await page.add_script_tag(content="const broken = ;", type="module")
    await until(lambda: complaints, "the browser to complain")
    [complaint] = complaints
    assert "Unexpected token" in complaint
    complaints.clear()
