"""Registration: what lies between two pictures in place and tone, taken back before any metric compares them."""

from pim.pim.registration.compared import Charges as Charges
from pim.pim.registration.compared import Stage as Stage
from pim.pim.registration.compared import overlay as overlay
from pim.pim.registration.compared import stages as stages
from pim.pim.registration.displacement import Displacement as Displacement
from pim.pim.registration.geometric import register as register
from pim.pim.registration.tone import Tone as Tone
from pim.pim.registration.tone import register_tone as register_tone
from pim.pim.registration.tone import take_back as take_back
from pim.pim.registration.words import describe as describe
