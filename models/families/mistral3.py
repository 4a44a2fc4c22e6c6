"""How does a Mistral checkpoint with a vision tower describe itself?

Mistral Small 3.1 and later, Ministral 3 and Mistral Small 4 share an architecture and differ in the
text model that is inside.
"""

from __future__ import annotations

from jaxserve.models.families import ministral3, mistral, mistral4
from jaxserve.models.families.beside_vision import beside_vision

FAMILY = beside_vision(
    {
        "mistral": mistral.FAMILY,
        "ministral3": ministral3.FAMILY,
        "mistral4": mistral4.FAMILY,
    },
    models="Mistral Small 3.1, 3.2 and 4, Ministral 3, Magistral Small (text)",
    of_others=(
        "image_token_index",
        "multimodal_projector_bias",
        "projector_hidden_act",
        "spatial_merge_size",
        "vision_feature_layer",
    ),
)
