"""Tokens are recognized by their form, whatever field they are in, and no output shows one."""

from __future__ import annotations

import io
import random
import re
import string

import pytest

from scripts.core import findings, secret_detection, secret_forms
from scripts.core.findings import Finding
from scripts.core.toolchain import version

LETTERS = string.ascii_letters
DIGITS = string.digits
BOTH = LETTERS + DIGITS
HEX = "0123456789abcdef"


def made(length: int, of: str = BOTH) -> str:
    """Return the same random characters in each run."""
    chosen = random.Random(length * 1000 + len(of))
    return "".join(chosen.choice(of) for _ in range(length))


TOKENS = {
    "age-secret-key": f"AGE-SECRET-KEY-1{made(58, 'QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L')}",
    "anthropic-api-key": f"sk-ant-api03-{made(93)}AA",
    "databricks-api-token": f"dapi{made(32, HEX)}",
    "digitalocean-pat": f"dop_v1_{made(64, HEX)}",
    "doppler-api-token": f"dp.pt.{made(43)}",
    "gcp-api-key": f"AIza{made(35)}",
    "github-oauth": f"gho_{made(36)}",
    "gitlab-pat": f"glpat-{made(20)}",
    "gitlab-runner-authentication-token": f"glrt-{made(20)}",
    "grafana-service-account-token": f"glsa_{made(32)}_{made(8, HEX)}",
    "huggingface-access-token": f"hf_{made(34, LETTERS)}",
    "linear-api-key": f"lin_api_{made(40)}",
    "notion-api-token": f"ntn_{made(11, DIGITS)}{made(35)}",
    "npm-access-token": f"npm_{made(36)}",
    "openai-api-key": f"sk-proj-{made(74)}T3BlbkFJ{made(74)}",
    "pulumi-api-token": f"pul-{made(40, HEX)}",
    "pypi-upload-token": f"pypi-AgEIcHlwaS5vcmc{made(60)}",
    "sendgrid-api-token": f"SG.{made(22)}.{made(43)}",
    "shopify-access-token": f"shpat_{made(32, HEX)}",
    "slack-bot-token": f"xoxb-{made(11, DIGITS[1:])}-{made(12, DIGITS[1:])}-{made(24)}",
    "slack-webhook-url": f"https://hooks.slack.com/services/T{made(8)}/B{made(10)}/{made(24)}",
    "stripe-access-token": f"sk_live_{made(24)}",
    "vault-service-token": f"hvs.{made(95)}",
    "a Discord webhook": f"https://discord.com/api/webhooks/{made(18, DIGITS)}/{made(68)}",
    "a GitHub token": f"ghp_{made(36)}",
    "a Telegram bot token": f"{made(10, DIGITS[1:])}:AA{made(33)}",
    "a bearer token": f"Authorization: Bearer {made(40)}",
    "a password for HTTP": f"Authorization: Basic {made(30)}==",
    "an Alchemy API key": f"https://eth-mainnet.g.alchemy.com/v2/{made(32)}",
    "an AWS access key": f"AKIA{made(16, string.ascii_uppercase)}",
    "an Azure storage key": f"AccountName=linea;AccountKey={made(86)}==",
    "an Infura API key": f"https://linea-mainnet.infura.io/v3/{made(32, HEX)}",
}
PLAIN = [
    "hyperledger/besu:26.8.0@sha256:" + made(64, HEX),
    "Bearer token of the service account",
    "basic authentication of the dashboard",
    "https://linea-mainnet.infura.io/v3/$INFURA_KEY",
    "Authorization: Bearer $(cat /run/token)",
    "arn:aws:iam::111122223333:role/linea-prod-backup",
    "enode://" + made(128, HEX) + "@linea-stack-sequencer-0:30303",
    "16Uiu2HAmT1DNtT16TkdDkwHZ3wXcuyS9SZQVS9wk4Y3xFpNr1Mt5",
    "glpat-xxxxxxxxxxxxxxxxxxxx",
    "sk_live_your_key",
]


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_is_recognized_in_any_field_and_text(kind: str) -> None:
    for text in (TOKENS[kind], f"--header={TOKENS[kind]}", f"first\nurl: {TOKENS[kind]}\nlast\n"):
        assert kind in secret_detection.in_text(text), text


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_is_none(text: str) -> None:
    assert secret_detection.in_text(text) == ""
    assert secret_detection.masked(text) == text


@pytest.mark.parametrize("format", findings.FORMATS)
@pytest.mark.parametrize("kind", TOKENS)
def test_no_format_of_findings_shows_a_token(kind: str, format: str) -> None:
    token = TOKENS[kind]
    secret = max(re.split(r"[ /=;]+", token), key=len)
    finding = Finding("a.yaml", 1, 1, "x", f'"{token}" is unknown', f"remove {token}")
    stream = io.StringIO()
    findings.write([finding], format, stream)
    assert secret not in stream.getvalue()
    assert "not shown" in stream.getvalue()


def test_the_table_is_of_the_pinned_gitleaks() -> None:
    text = secret_forms.TABLE.read_text("utf-8")
    assert f"gitleaks/gitleaks {version('gitleaks')}" in text
    for form in map(secret_forms._form, range(len(secret_forms._rows()))):
        assert form.keywords
        assert form.id
