-- What a cycle opens with and uses is what it charges, in units of the size in force, and what it carries on (rule 4.4).
-- A row is a team's cycle and API where that does not hold: what was turned into units is not between the units at the
-- smallest size in force in the cycle and at the largest; with one size in force it is exactly the units at that. No
-- row: the law holds.
-- Parameters: none. Bounds: all cycles, closed or rated, by the reference data that they pinned; quantities in 10^-6.
-- Runs on SQLite and PostgreSQL.
with in_force as (
    select carry.team_id,
           carry.cycle_start_us,
           carry.api,
           min(sizes.unit_size) as smallest_micro,
           max(sizes.unit_size) as largest_micro
    from carry
    join cycles
      on cycles.team_id = carry.team_id and cycles.cycle_start_us = carry.cycle_start_us
    join ref_unit_rates as sizes
      on sizes.api = carry.api
     and sizes.known_from <= cycles.pinned_load and sizes.known_to > cycles.pinned_load
     and sizes.valid_from < cycles.cycle_end_us
    where carry.billing = 'rated'
      and not exists (
          select 1
          from ref_unit_rates as later
          where later.api = sizes.api
            and later.known_from <= cycles.pinned_load and later.known_to > cycles.pinned_load
            and later.valid_from > sizes.valid_from and later.valid_from <= cycles.cycle_start_us
      )
    group by carry.team_id, carry.cycle_start_us, carry.api
)
select carry.team_id,
       carry.cycle_start_us,
       carry.api,
       carry.opening_micro + carry.usage_micro - carry.closing_micro as turned_micro,
       carry.charged_units,
       in_force.smallest_micro,
       in_force.largest_micro
from carry
left join in_force
       on in_force.team_id = carry.team_id
      and in_force.cycle_start_us = carry.cycle_start_us
      and in_force.api = carry.api
where carry.billing = 'rated'
  and not (
      carry.opening_micro + carry.usage_micro - carry.closing_micro
      between cast(carry.charged_units as numeric) * coalesce(in_force.smallest_micro, 0)
          and cast(carry.charged_units as numeric) * coalesce(in_force.largest_micro, 0)
  )
order by 1, 2, 3
