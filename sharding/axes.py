"""What are the axes called: of the mesh, and of the arrays laid over it?

Mesh axes say how devices are arranged; logical axes say what a dimension is. `rules.py` joins them.
"""

from __future__ import annotations

DATA = "data"
TENSOR = "tensor"
EXPERT = "expert"
MESH_AXES = (DATA, TENSOR, EXPERT)

BATCH = "batch"
EMBED = "embed"
Q_HEADS = "q_heads"
KV_HEADS = "kv_heads"
HEAD_DIM = "head_dim"
MLP = "mlp"
LATENT = "latent"
CHANNELS = "channels"
STATE_HEADS = "state_heads"
VOCAB = "vocab"
EXPERTS = "experts"
PAGES = "pages"
SLOTS = "slots"
GROUPS = "groups"  # runs of columns of a quantised weight, split as the columns are

LogicalAxes = tuple[str | None, ...]
"""What each dimension of an array is; None where nothing may ever be split."""
