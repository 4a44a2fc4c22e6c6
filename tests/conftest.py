"""What holds for every test: the CPU, split into eight devices. Set before jax is imported."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8"]
).strip()
# With as many threads as cores, programs over several devices can wait for each other for ever.
os.environ["PJRT_NPROC"] = "16"
