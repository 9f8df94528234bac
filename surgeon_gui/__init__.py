"""The desktop application of Surgeon; uses the engine through `surgeon_engine.api`."""

import os

os.environ["QT_API"] = "pyside6"  # superqt takes any binding, unless this names one
