"""What may stand in the fields of a request, said once for the check and for the documentation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

KEY = r"[A-Za-z0-9_-]"  # what keys and device ids are made of: they stand in topics and stored samples
CLEAN = r"^[^\x00-\x1f\x7f]*$"  # PostgreSQL keeps no NUL, and a list's line is one line

Key = Annotated[str, StringConstraints(pattern=f"^{KEY}{{1,64}}$")]
Kind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Line = Annotated[str, StringConstraints(max_length=200, pattern=CLEAN)]
Number = Annotated[int, Field(ge=0, lt=2**62)]
