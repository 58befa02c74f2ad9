-- What was granted is used, available or expired: never more is used than was granted, nor outside its validity (5.1-5.6).
-- What is left of a grant is available until its end and expired from then on (rule 8.1), so that granted = used +
-- available + expired is broken where used leaves 0 .. granted, and where a grant is used before its beginning or after
-- its end. Free balances are granted anew each period; nothing unused moves on.
-- A row is a grant, or a subscription's free balance of an API and period, with the cycle that broke it: what was
-- granted, what was used through that cycle, and when it could be used; granted is blank where nothing such was known.
-- No row: the law holds.
-- Parameters: none. Bounds: all cycles, closed or rated, in the order of their closes, by the reference data that each
-- pinned; 10^-6 of a token or resource, free balances whole units. A period is at most 32 days long. Runs on SQLite and
-- PostgreSQL.
with held as (
    select grant_id, subscription_id, '' as api, tokens as granted, valid_from, expires_at, known_from, known_to
    from ref_token_grants
    union all
    select grant_id, subscription_id, api, quantity, valid_from, expires_at, known_from, known_to
    from ref_capacity_grants
),
-- Reference data is looked up here, a draw at a time, and not of the sums below: SQLite takes those for few and would
-- look through all of a table for each. The + keeps it from an index that tells nothing apart.
drawn as (
    select draws.source,
           draws.subscription_id,
           draws.grant_id,
           case when draws.source in ('token_flex', 'flex') then '' else draws.api end as api,
           coalesce(draws.period_start_us, 0) as period_start_us,
           draws.team_id,
           draws.cycle_start_us,
           cycles.cycle_end_us,
           cycles.close_no,
           min(subscriptions.purchased_at) as purchased_at,
           min(subscriptions.ends_at) as ends_at,
           min(held.valid_from) as valid_from,
           min(held.expires_at) as expires_at,
           min(case when draws.source = 'free' then free_allowances.units_per_period else held.granted end) as granted,
           sum(case when draws.source = 'free' then draws.charged_units else draws.tokens_micro end) as taken
    from draws
    join cycles
      on cycles.team_id = draws.team_id and cycles.cycle_start_us = draws.cycle_start_us
    left join ref_subscriptions as subscriptions
           on subscriptions.subscription_id = draws.subscription_id
          and subscriptions.team_id = draws.team_id
          and subscriptions.kind = draws.source
          and subscriptions.known_from <= cycles.pinned_load and +subscriptions.known_to > cycles.pinned_load
    left join held
           on held.grant_id = draws.grant_id
          and held.subscription_id = draws.subscription_id
          and held.api = case when draws.source in ('token_flex', 'flex') then '' else draws.api end
          and held.known_from <= cycles.pinned_load and held.known_to > cycles.pinned_load
    left join ref_free_allowances as free_allowances
           on draws.source = 'free'
          and free_allowances.subscription_id = draws.subscription_id
          and free_allowances.api = draws.api
          and free_allowances.known_from <= cycles.pinned_load and +free_allowances.known_to > cycles.pinned_load
    where draws.source in ('free', 'token_flex', 'flex', 'capacity')
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9
),
used as (
    select drawn.*,
           sum(taken) over (
               partition by source, subscription_id, grant_id, api, period_start_us
               order by close_no, cycle_start_us, team_id
           ) as used
    from drawn
),
compared as (
    select used.source,
           used.subscription_id,
           used.grant_id,
           used.api,
           used.team_id,
           used.cycle_start_us,
           used.cycle_end_us,
           used.granted,
           used.used,
           case
               when used.source = 'free' then used.period_start_us
               when used.valid_from > used.purchased_at then used.valid_from
               else used.purchased_at
           end as begins_us,
           case
               when used.source = 'free' and used.ends_at > used.period_start_us + 2764800000000
                   then used.period_start_us + 2764800000000
               when used.expires_at < used.ends_at then used.expires_at
               else used.ends_at
           end as ends_us
    from used
)
select source, subscription_id, grant_id, api, team_id, cycle_start_us, granted, used, begins_us, ends_us
from compared
where granted is null
   or begins_us is null
   or used < 0
   or used > granted
   or begins_us >= cycle_end_us
   or ends_us <= cycle_start_us
order by 1, 2, 3, 4, 5, 6
