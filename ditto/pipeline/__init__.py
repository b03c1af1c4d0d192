"""One pipeline: its sessions one after the other, and what each of them is made of."""
