#include "catalog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Answers have the columns oid, name, schema, kind, element, delimiter, field names and
 * field types. `kind` is pg_type.typtype, but 'a' for a true array; `element` is what an
 * array, a range, a multirange or a domain is made of. */
enum { OID, NAME, SCHEMA, KIND, ELEMENT, DELIMITER, FIELD_NAMES, FIELD_TYPES };

enum { FIELD_SEPARATOR = '\x01' };

struct tp_catalog_entry {
    struct tp_catalog_entry *next;
    struct tp_type type;
    bool domain;
    bool shadow;                /* of a built-in type, because the caller forced one to be text */
    const struct tp_type *base; /* of a domain, once it is linked */
    uint32_t element;
    uint32_t *field_oids;
    struct tp_type_field *fields;
    char *field_names; /* what the fields' names point into */
    const char *name;  /* behind the schema and its dot */
    char qualified[];
};

/* ------------------------------------------------------------------- asking */

/* Source: PostgreSQL manual 53.64 (pg_type) and 53.42 (pg_range); multiranges are there
 * since version 14. */
void tp__catalog_ask(struct tp_buf *sql, const uint32_t *oids, int count, int server)
{
    const char *multirange_of = server >= 140000 ? "r.rngmultitypid" : "NULL::pg_catalog.oid";
    tp__buf_puts(sql, "WITH RECURSIVE made_of AS ("
                      "SELECT t.oid AS whole, CASE WHEN t.typtype = 'd' THEN t.typbasetype"
                      " WHEN t.typcategory = 'A' THEN t.typelem END AS part"
                      " FROM pg_catalog.pg_type t"
                      " UNION ALL SELECT rngtypid, rngsubtype FROM pg_catalog.pg_range");
    tp__buf_printf(sql, " UNION ALL SELECT %s, r.rngtypid FROM pg_catalog.pg_range r",
                   multirange_of);
    tp__buf_puts(sql, " UNION ALL SELECT t.oid, a.atttypid FROM pg_catalog.pg_type t"
                      " JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid"
                      " WHERE t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped"
                      "), wanted(oid) AS (SELECT pg_catalog.unnest('{");
    for (int i = 0; i < count; i++)
        tp__buf_printf(sql, "%s%u", i > 0 ? "," : "", oids[i]);
    tp__buf_puts(sql, "}'::pg_catalog.oid[]) UNION SELECT m.part FROM wanted w"
                      " JOIN made_of m ON m.whole = w.oid WHERE m.part > 0) "
                      "SELECT t.oid, t.typname, n.nspname,"
                      " CASE WHEN t.typcategory = 'A' AND t.typelem > 0 AND t.typtype = 'b'"
                      " THEN 'a' ELSE t.typtype::text END,"
                      " coalesce((SELECT min(m.part) FROM made_of m WHERE m.whole = t.oid"
                      " AND t.typtype <> 'c'), 0), t.typdelim,"
                      " pg_catalog.array_to_string(f.names, E'\\x01'),"
                      " pg_catalog.array_to_string(f.types, ',')"
                      " FROM wanted w JOIN pg_catalog.pg_type t ON t.oid = w.oid"
                      " JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace,"
                      " LATERAL (SELECT pg_catalog.array_agg(a.attname ORDER BY a.attnum),"
                      " pg_catalog.array_agg(a.atttypid ORDER BY a.attnum)"
                      " FROM pg_catalog.pg_attribute a WHERE t.typtype = 'c'"
                      " AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)"
                      " AS f(names, types)");
}

/* ------------------------------------------------------------------ entries */

static void free_entries(struct tp_catalog_entry *entry)
{
    while (entry != NULL) {
        struct tp_catalog_entry *next = entry->next;
        free(entry->field_oids);
        free(entry->fields);
        free(entry->field_names);
        free(entry);
        entry = next;
    }
}

static struct tp_catalog_entry *new_entry(uint32_t oid, const char *schema, const char *name)
{
    size_t room = strlen(schema) + 1 + strlen(name) + 1;
    struct tp_catalog_entry *entry = calloc(1, sizeof *entry + room);
    if (entry == NULL)
        return NULL;
    snprintf(entry->qualified, room, "%s.%s", schema, name);
    entry->name = entry->qualified + strlen(schema) + 1;
    entry->type.oid = oid;
    entry->type.base = oid;
    entry->type.name = entry->name;
    entry->type.delimiter = ',';
    return entry;
}

static const struct tp_type unknown_type = {.name = "", .kind = TP_KIND_TEXT, .delimiter = ','};

const struct tp_type *tp__type_unknown(void)
{
    return &unknown_type;
}

static const struct tp_type *find_in(const struct tp_catalog_entry *entry, uint32_t oid)
{
    while (entry != NULL && entry->type.oid != oid)
        entry = entry->next;
    return entry != NULL ? &entry->type : NULL;
}

static const struct tp_type *find_locked(const struct tp_catalog *catalog, uint32_t oid)
{
    const struct tp_type *known = find_in(catalog->entries, oid);
    return known != NULL ? known : tp_type_builtin(oid);
}

const struct tp_type *tp__catalog_find(struct tp_catalog *catalog, uint32_t oid)
{
    pthread_mutex_lock(&catalog->lock);
    const struct tp_type *type = find_locked(catalog, oid);
    pthread_mutex_unlock(&catalog->lock);
    return type;
}

/* ------------------------------------------------------------------ answers */

struct tp_catalog_answer {
    struct tp_catalog_entry *entries;
};

struct tp_catalog_answer *tp__catalog_answer_new(void)
{
    return calloc(1, sizeof(struct tp_catalog_answer));
}

void tp__catalog_answer_free(struct tp_catalog_answer *answer)
{
    if (answer != NULL)
        free_entries(answer->entries);
    free(answer);
}

/* Splits the names and the oids of a composite type's fields. */
static bool take_fields(struct tp_catalog_entry *entry, const char *names, const char *oids)
{
    int count = 1;
    if (oids == NULL || oids[0] == '\0')
        return true;
    for (const char *at = oids; *at != '\0'; at++)
        count += *at == ',';
    entry->field_names = strdup(names);
    entry->fields = calloc((size_t)count, sizeof *entry->fields);
    entry->field_oids = calloc((size_t)count, sizeof *entry->field_oids);
    if (entry->field_names == NULL || entry->fields == NULL || entry->field_oids == NULL)
        return false;
    char *name = entry->field_names, *end;
    for (int i = 0; i < count; i++) {
        entry->fields[i].name = name;
        entry->field_oids[i] = (uint32_t)strtoul(oids, &end, 10);
        oids = *end == ',' ? end + 1 : end;
        name += strcspn(name, (const char[]){FIELD_SEPARATOR, '\0'});
        if (*name != '\0')
            *name++ = '\0';
    }
    entry->type.fields = entry->fields;
    entry->type.nfields = count;
    return true;
}

static const struct tp_codec same_text = {.format = tp__same_format, .parse = tp__same_parse};

/* Base types of extensions are known by their names. */
static void take_base_type(struct tp_type *type)
{
    if (strcmp(type->name, "hstore") == 0)
        type->kind = TP_KIND_HSTORE;
    else if (strcmp(type->name, "vector") == 0)
        type->kind = TP_KIND_VECTOR;
    else if (strcmp(type->name, "citext") == 0)
        type->codec = &same_text;
}

static void take_kind(struct tp_catalog_entry *entry, char kind)
{
    struct tp_type *type = &entry->type;
    switch (kind) {
    case 'a':
        type->kind = TP_KIND_ARRAY;
        break;
    case 'r':
        type->kind = TP_KIND_RANGE;
        break;
    case 'm':
        type->kind = TP_KIND_MULTIRANGE;
        break;
    case 'c':
        type->kind = TP_KIND_COMPOSITE;
        break;
    case 'e':
        type->codec = &same_text;
        break;
    case 'd':
        entry->domain = true;
        break;
    case 'b':
        take_base_type(type);
        break;
    default: /* a pseudo-type is text */
        break;
    }
}

/* Whether the server says what a type has to have. */
static bool is_whole(const char *const *texts)
{
    for (int i = OID; i <= DELIMITER; i++) {
        if (texts[i] == NULL)
            return false;
    }
    return texts[FIELD_TYPES] == NULL || texts[FIELD_NAMES] != NULL;
}

bool tp__catalog_answer_add(struct tp_catalog_answer *answer, const char *const *texts)
{
    if (!is_whole(texts))
        return true; /* then nothing is known of it */
    struct tp_catalog_entry *entry =
        new_entry((uint32_t)strtoul(texts[OID], NULL, 10), texts[SCHEMA], texts[NAME]);
    if (entry == NULL)
        return false;
    entry->next = answer->entries;
    answer->entries = entry;
    entry->element = (uint32_t)strtoul(texts[ELEMENT], NULL, 10);
    entry->type.delimiter = texts[DELIMITER][0];
    take_kind(entry, texts[KIND][0]);
    return take_fields(entry, texts[FIELD_NAMES], texts[FIELD_TYPES]);
}

/* ----------------------------------------------------------------- learning */

static const struct tp_type *or_unknown(const struct tp_type *type)
{
    return type != NULL ? type : &unknown_type;
}

/* Whether the caller said the name, alone or with its schema. */
static bool is_forced(const struct tp_catalog *catalog, const char *name)
{
    for (int i = 0; i < catalog->text_count; i++) {
        if (strcmp(catalog->text_names[i], name) == 0)
            return true;
    }
    return false;
}

static void force(struct tp_type *type)
{
    type->kind = TP_KIND_TEXT;
    type->codec = NULL;
    type->element = NULL;
    type->nfields = 0;
    type->fields = NULL;
    type->binary = false;
    type->needs = 0;
    type->depth = 0;
}

/* Connects an entry with what it is made of. */
static void link_entry(struct tp_catalog *catalog, struct tp_catalog_entry *entry)
{
    struct tp_type *type = &entry->type;
    const struct tp_type *part =
        entry->element != 0 ? or_unknown(find_locked(catalog, entry->element)) : NULL;
    if (is_forced(catalog, entry->qualified))
        type->name = entry->qualified;
    if (is_forced(catalog, type->name)) {
        force(type);
        return;
    }
    if (entry->domain)
        entry->base = or_unknown(part);
    else
        type->element = part;
    bool container = type->kind == TP_KIND_ARRAY || type->kind == TP_KIND_RANGE ||
                     type->kind == TP_KIND_MULTIRANGE;
    if (container && part == NULL)
        type->kind = TP_KIND_TEXT;
    for (int i = 0; i < type->nfields; i++)
        entry->fields[i].type = or_unknown(find_locked(catalog, entry->field_oids[i]));
}

/* A domain's values are those of what it is over. */
static void copy_base(struct tp_catalog_entry *entry)
{
    struct tp_type made = *entry->base;
    made.oid = entry->type.oid;
    made.name = entry->type.name;
    made.depth++;
    entry->type = made;
}

/* What is in a type has to be judged before it; chains are short. One that is as long as can
 * be may be that of a type which is said to be in itself, and grows with every pass: no
 * server has those, and reading a value of one could recur for as long as there are bytes. */
static void judge(struct tp_catalog_entry *first, const struct tp_catalog_entry *end)
{
    enum { CHAIN_AT_MOST = 16 };
    for (int pass = 0; pass < CHAIN_AT_MOST; pass++) {
        for (struct tp_catalog_entry *entry = first; entry != end; entry = entry->next) {
            if (entry->base != NULL)
                copy_base(entry);
            else
                tp__type_judge(&entry->type);
        }
    }
    for (struct tp_catalog_entry *entry = first; entry != end; entry = entry->next) {
        if (entry->type.depth >= CHAIN_AT_MOST)
            force(&entry->type);
    }
}

/* Moves the answer's entries to the catalog, but those that are known by now. */
static bool adopt_locked(struct tp_catalog *catalog, struct tp_catalog_answer *answer,
                         const uint32_t *oids, int count)
{
    struct tp_catalog_entry *entry, *next;
    for (entry = answer->entries; entry != NULL; entry = next) {
        next = entry->next;
        bool known = find_locked(catalog, entry->type.oid) != NULL;
        struct tp_catalog_entry **to = known ? &catalog->retired : &catalog->entries;
        entry->next = *to;
        *to = entry;
    }
    answer->entries = NULL;
    for (int i = 0; i < count; i++) {
        if (find_locked(catalog, oids[i]) != NULL)
            continue;
        entry = new_entry(oids[i], "", "");
        if (entry == NULL)
            return false;
        entry->next = catalog->entries;
        catalog->entries = entry;
    }
    return true;
}

bool tp__catalog_learn(struct tp_catalog *catalog, struct tp_catalog_answer *answer,
                       const uint32_t *oids, int count)
{
    pthread_mutex_lock(&catalog->lock);
    struct tp_catalog_entry *known = catalog->entries;
    bool good = adopt_locked(catalog, answer, oids, count);
    for (struct tp_catalog_entry *entry = catalog->entries; entry != known; entry = entry->next)
        link_entry(catalog, entry);
    judge(catalog->entries, known);
    pthread_mutex_unlock(&catalog->lock);
    tp__catalog_answer_free(answer);
    return good;
}

/* --------------------------------------------------------- forced and forgotten */

/* A built-in type of which another description is wanted: forced to be text, or made of
 * one that is. */
static bool shadow_locked(struct tp_catalog *catalog, const struct tp_type *builtin,
                          const struct tp_type *element)
{
    struct tp_catalog_entry *entry = new_entry(builtin->oid, "pg_catalog", builtin->name);
    if (entry == NULL)
        return false;
    entry->shadow = true;
    entry->type = *builtin;
    entry->type.name = entry->name;
    entry->type.element = element;
    if (element == NULL)
        force(&entry->type);
    else
        tp__type_judge(&entry->type);
    entry->next = catalog->entries;
    catalog->entries = entry;
    return true;
}

static bool shadow_builtins_locked(struct tp_catalog *catalog)
{
    const struct tp_type *type, *element;
    for (size_t i = 0; (type = tp__type_builtin_at(i)) != NULL; i++) {
        if (is_forced(catalog, type->name) && !shadow_locked(catalog, type, NULL))
            return false;
    }
    for (int depth = 0; depth < 3 && catalog->entries != NULL; depth++) {
        for (size_t i = 0; (type = tp__type_builtin_at(i)) != NULL; i++) {
            if (type->element == NULL || find_in(catalog->entries, type->oid) != NULL)
                continue;
            element = find_in(catalog->entries, type->element->oid);
            if (element != NULL && !shadow_locked(catalog, type, element))
                return false;
        }
    }
    return true;
}

/* Retires entries, shadows only when there will be new ones. */
static void forget_locked(struct tp_catalog *catalog, bool shadows)
{
    struct tp_catalog_entry **link = &catalog->entries, *entry;
    while ((entry = *link) != NULL) {
        if (entry->shadow && !shadows) {
            link = &entry->next;
            continue;
        }
        *link = entry->next;
        entry->next = catalog->retired;
        catalog->retired = entry;
    }
}

void tp__catalog_forget(struct tp_catalog *catalog)
{
    pthread_mutex_lock(&catalog->lock);
    forget_locked(catalog, false);
    pthread_mutex_unlock(&catalog->lock);
}

bool tp__catalog_force_text(struct tp_catalog *catalog, const char *name)
{
    char *copy = strdup(name);
    pthread_mutex_lock(&catalog->lock);
    char **names = realloc(catalog->text_names,
                           ((size_t)catalog->text_count + 1) * sizeof *catalog->text_names);
    if (names != NULL)
        catalog->text_names = names;
    bool good = copy != NULL && names != NULL;
    if (good) {
        catalog->text_names[catalog->text_count++] = copy;
        forget_locked(catalog, true);
        good = shadow_builtins_locked(catalog);
    } else {
        free(copy);
    }
    pthread_mutex_unlock(&catalog->lock);
    return good;
}

/* --------------------------------------------------------------------- life */

void tp__catalog_init(struct tp_catalog *catalog)
{
    memset(catalog, 0, sizeof *catalog);
    pthread_mutex_init(&catalog->lock, NULL);
}

void tp__catalog_deinit(struct tp_catalog *catalog)
{
    free_entries(catalog->entries);
    free_entries(catalog->retired);
    for (int i = 0; i < catalog->text_count; i++)
        free(catalog->text_names[i]);
    free(catalog->text_names);
    pthread_mutex_destroy(&catalog->lock);
}
