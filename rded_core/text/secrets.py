"""Secrets in texts: passwords, tokens and signatures, as URLs and options carry them, masked before they show."""

import re

MASK = "***"

_NAMES = r"pass(?:word|wd|phrase)|secret|token|signature|credential|(?:api|access|account|private|shared)[_-]?key"

_PATTERNS = (
    # user:password@host; in http and ftp also token@host, which in other schemes is a container or a user.
    (r"(\b[a-z][a-z0-9+.-]*://)[^/\s'\"@]*:[^/\s'\"]*@", rf"\1{MASK}@"),
    (r"(\b(?:https?|ftps?)://)[^/\s'\"]+@", rf"\1{MASK}@"),
    # ?X-Amz-Signature=..., &sig=...
    (rf"([?&;](?:[\w.-]*(?:{_NAMES})[\w.-]*|sig|key|auth|pwd|code)=)[^&;\s'\"<>)]+", rf"\1{MASK}"),
    # "secret": "...", account_key=..., as mappings and settings are printed.
    (rf"(\b[\w-]*(?:{_NAMES})[\w-]*['\"]?\s*[=:]\s*)(['\"])(?:(?!\2).)+\2", rf"\1\2{MASK}\2"),
    (rf"(\b[\w-]*(?:{_NAMES})[\w-]*=)[^\s'\",;&)}}\]]+", rf"\1{MASK}"),
    (r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}", rf"\1{MASK}"),
)

_COMPILED = tuple((re.compile(pattern, re.IGNORECASE), shown) for pattern, shown in _PATTERNS)


def mask_secrets(text: str) -> str:
    """Returns a text with ``***`` in the place of each password, token, key and signature that it holds.

    It knows them by their place (``user:password@host``) or by their name (``token=``, ``X-Amz-Signature=``,
    ``"secret": "..."``, ``Bearer ...``); what bears no such sign is not found.
    """
    for pattern, shown in _COMPILED:
        text = pattern.sub(shown, text)
    return text


def has_secret(url: str) -> bool:
    """Tells whether a URL holds a password or token; local paths never do."""
    return "://" in url and mask_secrets(url) != url
