"""Masking of secrets in text: passwords, tokens and signatures in URLs and options."""

import re

MASK = "***"

_NAMES = r"pass(?:word|wd|phrase)|secret|token|signature|credential|(?:api|access|account|private|shared)[_-]?key"

_PATTERNS = (
    # user:password@host; in http and ftp also token@host, which in other schemes is a container or a user.
    (r"(\b[a-z][a-z0-9+.-]*://)[^/\s'\"@]*:[^/\s'\"]*@", rf"\1{MASK}@"),
    (r"(\b(?:https?|ftps?)://)[^/\s'\"]+@", rf"\1{MASK}@"),
    # ?X-Amz-Signature=..., &sig=...
    (rf"([?&;](?:[\w.-]*(?:{_NAMES})[\w.-]*|sig|key|auth|pwd|code)=)[^&;\s'\"<>)]+", rf"\1{MASK}"),
    # "secret": "...", account_key=..., as in printed mappings and settings.
    (rf"(\b[\w-]*(?:{_NAMES})[\w-]*['\"]?\s*[=:]\s*)(['\"])(?:(?!\2).)+\2", rf"\1\2{MASK}\2"),
    (rf"(\b[\w-]*(?:{_NAMES})[\w-]*=)[^\s'\",;&)}}\]]+", rf"\1{MASK}"),
    (r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}", rf"\1{MASK}"),
)

_COMPILED = tuple((re.compile(pattern, re.IGNORECASE), replacement) for pattern, replacement in _PATTERNS)


def mask_secrets(text: str) -> str:
    """Returns a text with each password, token, key and signature in it replaced by ``***``.

    Secrets are recognised by their place (``user:password@host``) or by their name (``token=``, ``X-Amz-Signature=``,
    ``"secret": "..."``, ``Bearer ...``); others are not detected.
    """
    for pattern, replacement in _COMPILED:
        text = pattern.sub(replacement, text)
    return text


def has_secret(url: str) -> bool:
    """Returns True if a URL contains a password or token; local paths never do."""
    return "://" in url and mask_secrets(url) != url
