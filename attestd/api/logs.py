"""Structured logs: one JSON object per line on standard error, without secrets, evidence or control characters."""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Final

from attestd.codec import Json, dump_time
from attestd.registrar.documents import dump

# Under which attribute a record of attestd's own carries members besides its message.
FIELDS: Final = "fields"


class JsonFormatter(logging.Formatter):
    """One line per record: JSON escapes whatever could start a second line or drive a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record out."""
        line: dict[str, Json] = {
            "time": dump_time(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line.update(getattr(record, FIELDS, {}))
        if record.exc_info and record.exc_info[1] is not None:
            line["failure"] = _failure(record.exc_info[1])
        return dump(line).decode()


def _failure(error: BaseException) -> Json:
    """Return the kind of the error and where it came from; its text is left out, because it may quote the input."""
    frames = traceback.extract_tb(error.__traceback__)
    return [type(error).__qualname__, *(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:])]


def configure(level: str) -> None:
    """Send everything that this process logs to standard error, in this one form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # What no line says needs not be found out for each (Python's Logging HOWTO, Optimization).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - the HOWTO's own way to leave out where a record came from
    # What they say of each request or migration, the edge and the registry say better.
    for name in ("uvicorn.error", "uvicorn.access", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
