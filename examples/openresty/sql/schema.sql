create table users (
    id bigint generated always as identity primary key,
    email text not null constraint users_email_key unique,
    name text not null,
    created_at timestamptz not null default now()
);
create table user_audit_log (
    id bigint generated always as identity primary key,
    user_id bigint not null references users,
    action text not null,
    details jsonb not null,
    at timestamptz not null default now()
);
