"""The code of a registered model. MLflow runs this file to load the model, so nothing is unpickled."""

from pathlib import Path

import mlflow
from mlflow.pyfunc import PythonModel, PythonModelContext

from dynaxx.deployment import Deployed, answers


class ServedModel(PythonModel):
    """A model from images, uint8 (B, C, H, W), to what `dynaxx.deployment.answers` makes of its answers.

    A model with sources is given the images under "images" and each source under its name.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights from the folder that MLflow passes in `context`."""
        self.deployed = Deployed(Path(context.artifacts["deployment"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Predict a batch without type annotations: MLflow would read one of `model_input` as a signature."""
        del context, params
        return answers(self.deployed, model_input)


mlflow.models.set_model(ServedModel())
