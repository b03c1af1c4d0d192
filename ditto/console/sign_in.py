"""The page that asks for a token: plain HTML without a script."""

from __future__ import annotations

import html
from string import Template
from typing import Final
from urllib.parse import urlsplit

PATH: Final = "/sign-in"
LEAVE: Final = "/sign-out"
START: Final = "/"

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Sign in - Ditto</title>
<link rel="icon" href="/console/icon.svg">
<link rel="stylesheet" href="/console/style.css">
</head>
<body class="sign-in">
<main>
<form method="post" action="/sign-in">
<h1><img src="/console/icon.svg" alt="" width="32" height="32"> Ditto</h1>
<p class="muted">Node $node</p>
$problem
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus
  spellcheck="false" autocapitalize="off">
<input type="hidden" name="next" value="$next">
<button type="submit">Sign in</button>
<p class="muted">The node knows the tokens whose SHA-256 is in <code>auth.tokens</code> of its configuration;
<code>ditto token</code> makes one.</p>
</form>
</main>
</body>
</html>
""")


def sign_in_page(node: str, *, then: str = START, problem: str = "") -> str:
    """The page. `then`: where to go on afterwards."""
    shown = f'<p class="problem" role="alert">{html.escape(problem)}</p>' if problem else ""
    return _PAGE.substitute(node=html.escape(node), next=html.escape(then, quote=True), problem=shown)


def inside(target: str) -> str:
    """The same path, where it is one of this server's; otherwise the first page."""
    parts = urlsplit(target)
    is_ours = not parts.scheme and not parts.netloc and target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if is_ours and parts.path not in {PATH, LEAVE} else START
