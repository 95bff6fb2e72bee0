"""The page at /docs loads only files of the service, and needs no more than its content security policy allows."""

import re
from html.parser import HTMLParser

import pytest
from flask.testing import FlaskClient

from neobank.web.headers import HEADERS

POLICY = "Content-Security-Policy"


class Page(HTMLParser):
    """The URLs that a page loads, and its inline scripts and styles, which the policy forbids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.loaded += [value for name in ("src", "href") if (value := given.get(name))]
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.inline.append(tag)


def test_the_page_loads_existing_files_and_has_nothing_inline(client: FlaskClient) -> None:
    answer = client.get("/docs")
    assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8")
    page = Page(answer.text)
    assert not page.inline
    assert len(page.loaded) == 4
    kinds = {".js": "text/javascript", ".css": "text/css", ".png": "image/png"}
    for path in page.loaded:
        loaded = client.get(path)
        assert (loaded.status_code, loaded.mimetype) == (200, kinds[path[path.rindex(".") :]]), path
        assert len(loaded.data) > 50


def test_the_page_reads_the_openapi_document(client: FlaskClient) -> None:
    [path] = re.findall(r'url: "([^"]+)"', client.get("/docs/start.js").text)
    assert client.get(path).get_json()["openapi"].startswith("3.1")
    assert "SwaggerUIBundle=" in client.get("/docs/swagger-ui-bundle.js").text.replace(" ", "")


def test_the_policy_allows_only_scripts_of_the_service(client: FlaskClient) -> None:
    answer = client.get("/docs")
    allowed = dict(part.split(" ", 1) for part in answer.headers[POLICY].split("; "))
    assert allowed == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    others = HEADERS.keys() - {POLICY}
    assert {name: answer.headers[name] for name in others} == {name: HEADERS[name] for name in others}


@pytest.mark.parametrize("name", ["swagger-ui.js", "index.html", "LICENSE", "..", "..%2fflask_swagger_ui.py", "a\\b"])
def test_no_other_file_is_served(client: FlaskClient, name: str) -> None:
    answer = client.get(f"/docs/{name}")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
