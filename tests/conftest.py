"""What all tests share: properties are not timed, for a machine may be busy; and torchvision is repaired.

torchvision as it is published cannot load its compiled part beside a torch without CUDA.

It then registers shapes of operators that do not exist, and fails, and with it lpips, torch-fidelity and transformers.
An empty module in the place of those registrations lets the rest of it import.
"""

import sys
from types import ModuleType

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

REGISTRATIONS = "torchvision._meta_registrations"
sys.modules.setdefault(REGISTRATIONS, ModuleType(REGISTRATIONS))
