"""Seeds of mirrors: packs in the bucket, from which a task without a mirror begins one."""
