"""The code of a registered model. MLflow runs this file to load the model, so nothing is unpickled."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext

from dynaxx.deployment import Deployed


class ServedModel(PythonModel):
    """A model from images, uint8 (B, C, H, W), to a table of probabilities: one row per image, one column per class."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights from the folder that MLflow passes in `context`."""
        self.deployed = Deployed(Path(context.artifacts["deployment"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Predict a batch without type annotations: MLflow would read one of `model_input` as a signature."""
        del context, params
        images = torch.from_numpy(np.ascontiguousarray(model_input))
        answers = self.deployed.probabilities(images).numpy()
        return pd.DataFrame(answers, columns=self.deployed.metadata.classes)


mlflow.models.set_model(ServedModel())
