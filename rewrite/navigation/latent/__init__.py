"""Directions of latent space as edits: moves of z, w and s, folded into the affine layers that read them."""
