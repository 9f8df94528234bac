"""Remove secrets from text before it is shared.

    hf_AbCdEf0123456789         [removed]
    HF_TOKEN=whatever-it-is     HF_TOKEN=[removed]
    https://me:secret@host/     https://[removed]@host/
    /home/ada/models            ~/models, or /home/user/models for another user
    ada@example.org             [removed]

Values of environment variables with names of secrets are removed everywhere, and
private keys as a whole. What is random but has no name, such as a hash, stays.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping

REMOVED = "[removed]"

_MIN_LENGTH = 6  # characters; shorter values would match ordinary words
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL", re.I)
_KNOWN_TOKEN = re.compile(
    r"""(?x)
    (?<![A-Za-z0-9]) (?:
      hf_[A-Za-z0-9]{8,} | api_org_[A-Za-z0-9]{16,}          # Hugging Face
      | gh[oprsu]_\w{16,} | github_pat_\w{16,}               # GitHub
      | gl[a-z]{2,6}-[\w-]{16,}                              # GitLab
      | xox[a-z]-[\w-]{8,} | xapp-[\w-]{8,}                  # Slack
      | (?:sk|nvapi|xai|pypi)-[\w-]{16,}                     # OpenAI, NVIDIA, ...
      | [rs]k_(?:live|test)_\w{8,}                           # Stripe
      | (?:npm|gsk|r8|dop_v1)_\w{24,}
      | SG\.[\w-]{16,}\.[\w-]{16,}                          # SendGrid
      | AIza[\w-]{35} | ya29\.[\w-]{16,}                    # Google
      | (?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}      # Amazon
      | (?:AC|SK)[0-9a-f]{32}                                # Twilio
      | \d{8,10}:[\w-]{35}                                   # Telegram
      | eyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*                     # JSON web tokens
    )"""
)
_SLACK_ADDRESS = re.compile(r"(?<=hooks\.slack\.com/)[\w/]+")
# An AWS secret has no prefix; only an "aws" before it on the line identifies it.
_AWS_SECRET = re.compile(r"(?i)(aws.{0,40}?)(?<![\w/+])[a-z0-9/+]{40}(?![\w/+])")
_PRIVATE_KEY = re.compile(
    r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?"
    r"(?:-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|\Z)"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)(\s+)[\w.~+/=-]{8,}")
# A revision of a model, as in hf://name@revision, is no address.
_IN_ADDRESS = re.compile(r"(?<=://)(?<!hf://)[^/\s@\"']+(?=@)")
_EMAIL = re.compile(r"(?<![\w/.+-])[\w.+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}")
_SECRET = (
    r"[\w-]*(?:token|secret|passw(?:or)?d|passphrase|pwd|credentials?"
    r"|(?:api|access|private|account)[_-]?key)"
)
_NAMED = re.compile(
    rf"(?i)(\b{_SECRET}\\?[\"']?\s*(?:=>|[=:])\s*|--{_SECRET}\s+)"
    r"(?:(\\?[\"']).{4,}?\2|[^\s\"',;}\]\\]{6,})"
)
_ANY_HOME = re.compile(r"(?i)(/home/|/Users/|\\Users\\|\\\\Users\\\\)[^/\\\s\"':]+")


def redacted(text: str, home: str, environment: Mapping[str, str] | None = None) -> str:
    """Return `text` without secrets and without the names of home folders."""
    for secret in _secrets(os.environ if environment is None else environment):
        text = text.replace(secret, REMOVED)
    for pattern in (_PRIVATE_KEY, _KNOWN_TOKEN, _SLACK_ADDRESS):
        text = pattern.sub(REMOVED, text)
    text = _BEARER.sub(rf"\1\2{REMOVED}", text)
    text = _IN_ADDRESS.sub(REMOVED, text)
    text = _NAMED.sub(lambda x: f"{x[1]}{x[2] or ''}{REMOVED}{x[2] or ''}", text)
    text = _AWS_SECRET.sub(rf"\1{REMOVED}", text)
    text = _EMAIL.sub(REMOVED, text)
    if len(home) > 1:  # a home of / would match everywhere
        for spelling in {json.dumps(home)[1:-1], home}:
            text = re.sub(re.escape(spelling) + r"(?![\w.-])", "~", text)
    return _ANY_HOME.sub(r"\1user", text)


def _secrets(environment: Mapping[str, str]) -> list[str]:
    """Return the secrets, longest first, because one may be a prefix of another."""
    found = {
        value
        for name, value in environment.items()
        if _SECRET_NAME.search(name) and len(value) >= _MIN_LENGTH
    }
    return sorted(found, key=len, reverse=True)
