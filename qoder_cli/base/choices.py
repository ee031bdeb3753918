"""What options of `deploy run` choose between, on its own so that help needs nothing of what acts on it."""

from typing import Literal

OnLost = Literal["adopt", "resend", "fail"]  # when the answer to the trigger is lost
OnSkip = Literal["fail", "ok"]  # when the run is skipped
OnLeave = Literal["detach", "cancel"]  # when a run that goes on is left
OnAsk = Literal["stop", "wait"]  # when the agent waits for an answer
