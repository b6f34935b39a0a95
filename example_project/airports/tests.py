"""Tests of the importer, as you may write them for yours: without Redis, and without waiting."""

from __future__ import annotations

import tempfile

from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TestCase, override_settings

from django_import_progress import get_sync_progress_manager
from django_import_progress.testing import record_imports

from .importer import SAMPLE, BadFile, run_import
from .models import Airport, Import


def _file(content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("airports.csv", content)


class ImporterTest(TestCase):
    def setUp(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(override_settings(MEDIA_ROOT=folder))
        self.owner = User.objects.create_user("ann")
        self.lines = SAMPLE.read_bytes().splitlines(keepends=True)

    def _import(self, *lines: bytes) -> Import:
        return Import.objects.create(owner=self.owner, file=_file(b"".join(lines)))

    def test_rows_are_imported_and_counted(self) -> None:
        import_ = self._import(*self.lines[:1001])
        with record_imports() as recorded:
            run_import(import_)
        job = recorded[import_.pk]
        self.assertEqual((job.status, job.fields["processed_rows"]), ("done", 1000))
        self.assertEqual(job.fields["created"], Airport.objects.count())
        self.assertEqual(job.snapshots[0]["stage"], "counting rows")

    def test_a_bad_row_is_rejected_with_its_line(self) -> None:
        import_ = self._import(*self.lines[:2], self.lines[2].replace(b",252,", b",high,"))
        with record_imports() as recorded:
            run_import(import_)
        [reject] = recorded[import_.pk].rejected
        self.assertEqual(reject["line"], 3)
        self.assertEqual(recorded[import_.pk].status, "done")

    def test_the_user_reads_what_is_wrong_with_a_file(self) -> None:
        import_ = self._import(b"\x00")
        with record_imports() as recorded, self.assertRaises(BadFile) as raised:
            run_import(import_)
        job = recorded[import_.pk]
        self.assertEqual(job.status, "failed")
        self.assertEqual(job.fields["error_message"], str(raised.exception))

    def test_a_cancelled_job_imports_nothing(self) -> None:
        import_ = self._import(*self.lines[:10])
        with record_imports() as recorded:
            jobs = get_sync_progress_manager()
            jobs.create(import_.pk, owner=self.owner)
            jobs.request_cancel(import_.pk)
            run_import(import_)
        self.assertEqual(recorded[import_.pk].status, "cancelled")
        self.assertEqual(Airport.objects.count(), 0)
