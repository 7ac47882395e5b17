/* Pod files, JSON and YAML; what was taken survives a record. */
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"
#include "hyperd/pod/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pod_spec *spec = NULL, *back = NULL;
	autojson json_t *record = NULL;

	if (pod_file_parse((const char *)data, size, NULL, &spec, NULL) < 0)
		return 0;
	record = pod_spec_to_json(spec);
	if (!record || pod_spec_from_json(record, &back, NULL) < 0)
		abort();
	for (size_t i = 0; i < spec->container_count; i++) {
		autojson json_t *json = container_spec_to_json(spec->containers[i]);
		struct container_spec *container = NULL;

		if (!json || container_spec_from_json(json, &container, NULL) < 0)
			abort();
		container_spec_free(container);
	}
	pod_spec_free(back);
	pod_spec_free(spec);
	return 0;
}
