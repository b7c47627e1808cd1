"""A page of results that has none yet, and a reader that checks that a page is well formed."""

from html.parser import HTMLParser

from experiments.models import VSD
from experiments.report_contents import Contents, TrainedModel

VOID = {"meta", "img", "br"}
EMPTY = Contents("mini", "test", {f"table{n}": None for n in range(2, 8)}, [], [TrainedModel(VSD, 0, {}, {})], {})
FACTS = {
    "steps": 60, "seconds": 8.5, "waited_for_input": 0.07, "frame_accuracy": 0.79, "dev_wer": 14.25,
    "device": "1 x cpu (x)", "domains": ["Telephony"], "data": ["5eed" * 16],
}  # fmt: skip


class Reader(HTMLParser):
    """Checks that every tag is closed in its turn; keeps text and attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.text, self.tags = [], "", []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data + "\n"
