"""Tests of your project without a Redis server: `record_imports`."""

from .recording import RecordedImport, RecordedImports, record_imports

__all__ = ["RecordedImport", "RecordedImports", "record_imports"]
