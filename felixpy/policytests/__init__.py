"""Tests of policies: files that say who may reach whom, and what became of each expectation.

files     ``*.felixtest.yaml`` as values, each expectation with its place
ends      what an expectation calls a source or destination, and the packets that it stands for
running   expectations compared with what the compiled rules do
coverage  the policy rules that no expectation ever reached
writing   a first test file made from today's connections, and the tables of old ones renewed
"""

from __future__ import annotations

from felixpy.policytests.files import Expectation, PolicyTest, read_tests
from felixpy.policytests.running import ExpectationOutcome, Runner

__all__ = ["Expectation", "ExpectationOutcome", "PolicyTest", "Runner", "read_tests"]
