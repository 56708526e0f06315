"""The report: a run folder -> one self-contained page with scores, curves, sample answers and the way to repeat it."""

from axk1.eval.report.page import ReportConfig, write_report

__all__ = ["ReportConfig", "write_report"]
