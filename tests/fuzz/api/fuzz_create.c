/* Docker's create, update and exec bodies. */
#include <stdlib.h>

#include "base/json.h"
#include "hyperd/api/api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autojson json_t *body = NULL;
	struct create_request create;
	struct spec_resources resources = { 0 };
	struct restart_policy restart;
	struct exec_spec *exec;
	bool any, any_restart;

	if (json_parse((const char *)data, size, &body, NULL) < 0)
		return 0;
	if (create_request_parse(body, "name", &create, NULL) == 0)
		create_request_done(&create);
	if (update_request_parse(body, &resources, &any, &restart, &any_restart, NULL) == 0) {
		free(resources.cpuset_cpus);
		free(resources.cpuset_mems);
	}
	if (exec_request_parse(body, &exec, NULL) == 0)
		exec_spec_free(exec);
	return 0;
}
