#include "pin/pin.h"
