"""Several hosts that run one model: the first schedules, the others do as it tells them."""
