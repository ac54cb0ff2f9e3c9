/* Connection URLs. No message may have anything of the text. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "url.h"

static void check_params(const struct tp_url *url, const char *text)
{
    for (size_t i = 0; i < url->count; i++) {
        const struct tp_url_param *param = &url->params[i];
        fuzz_check(param->key != NULL && param->value != NULL);
        fuzz_check(strlen(param->value) <= strlen(text));
        /* Raw ones are refused, so what there is was percent-encoded. */
        for (const char *at = param->value; *at != '\0'; at++)
            fuzz_check(strchr(text, '%') != NULL || ((unsigned char)*at >= ' ' && *at != 0x7f));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct tp_error err = {.kind = TP_OK};
    struct tp_url url = {0};
    char *text = fuzz_text(&in, '\0');
    if (tp__url_parse(&url, text, "DATABASE_URL", &err) == TP_OK) {
        fuzz_check(tp__url_scheme(text));
        check_params(&url, text);
    } else {
        fuzz_check_error(&err, true);
        fuzz_check(err.kind == TP_ERR_VALIDATION && url.params == NULL);
    }
    (void)tp__is_placeholder(text);
    tp__url_deinit(&url);
    free(text);
    return 0;
}
