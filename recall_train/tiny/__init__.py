"""recall-tiny: a model small enough to ship and to train on a laptop, and the recipe that makes it.

It exists so that anyone can watch reinforcement learning work without a GPU or a network. It is no base for anything
else: real users start from an instruct model, with no imitation. Parts: tokenizer.py, imitate.py (demonstrations),
pretrain.py; `python -m recall_train.tiny` runs them in order.
"""
