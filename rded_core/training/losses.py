"""Losses of students that learn from soft labels."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

GIFT_HARD_WEIGHT = 0.1
LABEL_SMOOTHING = 0.1


def kl_at_temperature(
    student_logits: Float[Tensor, "b k"], teacher_logits: Float[Tensor, "b k"], *, temperature: float
) -> Float[Tensor, ""]:
    """Computes KL(teacher || student) between softmaxes at `temperature`, in nats, averaged over the batch.

    Not multiplied by the temperature squared. Source: RDED's validation code (T = 20).
    """
    student = functional.log_softmax(student_logits / temperature, dim=1)
    teacher = functional.log_softmax(teacher_logits / temperature, dim=1)
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def gift_loss(
    student_logits: Float[Tensor, "b k"], teacher_logits: Float[Tensor, "b k"], hard_labels: Float[Tensor, "b k"]
) -> Float[Tensor, ""]:
    """Computes 1 - cosine between student logits and refined teacher labels, averaged over the batch.

    The refined label is the teacher's logits at unit length plus 0.1 times the smoothed hard label at unit length.
    `hard_labels` rows sum to one (mixed rows if views are mixed). Source: GIFT (Shang et al., ICLR 2025), as
    described there; range 0..2.
    """
    num_classes = hard_labels.shape[1]
    smoothed = hard_labels * (1.0 - LABEL_SMOOTHING) + LABEL_SMOOTHING / num_classes
    refined = functional.normalize(teacher_logits, dim=1) + GIFT_HARD_WEIGHT * functional.normalize(smoothed, dim=1)
    return (1.0 - functional.cosine_similarity(student_logits, refined, dim=1)).mean()


def soft_cross_entropy(student_logits: Float[Tensor, "b k"], target_probs: Float[Tensor, "b k"]) -> Float[Tensor, ""]:
    """Computes the cross-entropy with rows of class probabilities (one-hot rows for hard labels), in nats."""
    return functional.cross_entropy(student_logits, target_probs)
