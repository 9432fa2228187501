"""The code of a registered model: MLflow runs this file to make the model again, and nothing is unpickled."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext

from dynaxx.deployment import Deployed


class ServedModel(PythonModel):
    """Images, uint8 (B, C, H, W), in; a row of probabilities each out, a column a class."""

    def load_context(self, context: PythonModelContext) -> None:
        """Called by MLflow with the folder of weights."""
        self.deployed = Deployed(Path(context.artifacts["deployment"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Called by MLflow with a batch; it would read a type at `model_input` as a signature of its own."""
        del context, params
        images = torch.from_numpy(np.ascontiguousarray(model_input))
        answers = self.deployed.probabilities(images).numpy()
        return pd.DataFrame(answers, columns=self.deployed.metadata.classes)


mlflow.models.set_model(ServedModel())
