"""The judge: a user's next message becomes a verdict; what a verdict teaches is decided apart from it, at the gate."""
