"""What people read of an evaluation: page, one-pager, terminal table."""
