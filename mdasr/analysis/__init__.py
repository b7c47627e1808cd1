from mdasr.core.requirements import check_jax

check_jax()
