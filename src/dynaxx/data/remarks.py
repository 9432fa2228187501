"""What should be known about the data before its results are believed, one line each."""

from collections.abc import Mapping, Sequence

from dynaxx.data.errors import count_reasons, few
from dynaxx.data.images import LabelledImages
from dynaxx.data.manifest import Manifest
from dynaxx.data.prepare import Prepared
from dynaxx.data.repeats import same_pixels


def training_remarks(manifest: Manifest) -> list[str]:
    """Remarks of stage `prepare`, which knows the training images, and of the test images only the files' bytes.

    >>> training_remarks(load_prepared(Path("outputs/prepare")).manifest)
    ['test images that are training images too: 1 (test/cat/7.png is train/cat/0.png)']
    """
    copies = [f"{test} is {train}" for test, train in manifest.copies.items()]
    return [*_remark("test images that are training images too", copies), *_two_labels(manifest)]


def remarks(prepared: Prepared, test: LabelledImages, skipped: Mapping[str, str]) -> list[str]:
    """Remarks of stage `evaluate`, which has decoded the test images, too.

    >>> remarks(load_prepared(Path("outputs/prepare")), source.test(), source.skipped)
    ['test images that are training images too: 2 of 500 (test/cat/7.png, test/dog/3.png)']

    Args:
        prepared: training images.
        test: test images.
        skipped: test file that was left out -> the reason.
    """
    copies = [test.name(number) for number in same_pixels(prepared.images, test.images)]
    shared = sorted(set(prepared.manifest.image_groups) & set(test.groups))
    left_out = {"training": prepared.manifest.skipped, "test": skipped}
    return [
        *_remark("test images that are training images too", copies, f" of {len(test):,}"),
        *_two_labels(prepared.manifest),
        *_remark("groups that have images in training and in test", shared, f" of {len(set(test.groups)):,}"),
        *(f"{part} files left out: {count_reasons(files)}" for part, files in left_out.items() if files),
    ]


def _two_labels(manifest: Manifest) -> list[str]:
    pairs = [f"{first} and {second}" for first, second in manifest.contradictions]
    return _remark("training images that have another label elsewhere in training", pairs)


def _remark(what: str, names: Sequence[str], of: str = "") -> list[str]:
    return [f"{what}: {len(names):,}{of} ({few(names, shown=2)})"] if names else []
