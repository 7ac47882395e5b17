#pragma once
/* The generated messages. stdio.h's stdin, stdout and stderr are macros in musl and would spoil the
 * fields of that name. */
#include <stdio.h>
#undef stdin
#undef stdout
#undef stderr
#include "wire/hyper.pb-c.h"
