"""torchvision as it is published cannot load its compiled part beside a torch without CUDA.

It then registers shapes of operators that do not exist, and fails, and with it lpips, torch-fidelity and transformers.
An empty module in the place of those registrations lets the rest of it import.
"""

import sys
from types import ModuleType

REGISTRATIONS = "torchvision._meta_registrations"
sys.modules.setdefault(REGISTRATIONS, ModuleType(REGISTRATIONS))
