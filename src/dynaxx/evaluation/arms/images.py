"""Batches of images, for arms that run the whole network in every step."""

from dynaxx.data import ImageData
from dynaxx.evaluation.arms.task import Task


def image_data(task: Task, seed: int) -> ImageData:
    """The training and validation images of one seed."""
    train, val = task.split(seed)
    return ImageData(
        task.images.subset(train),
        task.images.subset(val),
        normalisation=task.normalisation,
        batch_size=task.train.batch_size,
        augmentation=task.train.augmentation,
        seed=seed,
    )
