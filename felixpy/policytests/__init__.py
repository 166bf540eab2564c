"""Tests of policies: files with expected connections, and the outcome of each expectation.

files     ``*.felixtest.yaml`` as values, each expectation with its place
ends      sources and destinations in expectations, and the endpoints and addresses that they include
running   expectations compared with the compiled rules
coverage  the policy rules that no expectation reached
writing   a first test file from the current connections, and updating the tables of existing ones
"""

from __future__ import annotations

from felixpy.policytests.files import Expectation, PolicyTest, read_tests
from felixpy.policytests.running import ExpectationOutcome, Runner

__all__ = ["Expectation", "ExpectationOutcome", "PolicyTest", "Runner", "read_tests"]
