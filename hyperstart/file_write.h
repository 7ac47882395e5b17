#pragma once
/* Writes files into a container's root, resolved inside it. */
#include "base/error.h"

struct request;

int file_write_handle(struct request *request, struct error *err);
