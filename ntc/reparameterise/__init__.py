"""Small networks: weights that are quantised and priced in training, and the file that they fit into."""

from ntc.reparameterise.forms import FourierForm as FourierForm
from ntc.reparameterise.forms import Reparameterisation as Reparameterisation
from ntc.reparameterise.forms import ScalarForm as ScalarForm
from ntc.reparameterise.forms import code_length as code_length
from ntc.reparameterise.forms import reparameterise as reparameterise
from ntc.reparameterise.forms import reparameterised as reparameterised
from ntc.reparameterise.model_file import dumps as dumps
from ntc.reparameterise.model_file import loads as loads
from ntc.reparameterise.model_file import read_metadata as read_metadata
from ntc.reparameterise.model_file import remove_reparameterisation as remove_reparameterisation
