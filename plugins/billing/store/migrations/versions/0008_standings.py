"""Usage as it is shown, how teams stand, alerts, members of teams"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'

CodePointText = sa.Text().with_variant(sa.Text(collation='C'), 'postgresql')


def upgrade() -> None:
    op.create_table('ref_team_members',
    sa.Column('row_no', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('user', CodePointText, nullable=False),
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('role', CodePointText, nullable=False),
    sa.Column('known_from', sa.BigInteger(), nullable=False),
    sa.Column('known_to', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('row_no', name=op.f('pk_ref_team_members'))
    )
    op.create_index(op.f('ix_ref_team_members_known_to'), 'ref_team_members', ['known_to'], unique=False)
    op.create_table('usage_months',
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('first_day', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('api', CodePointText, nullable=False),
    sa.Column('app_id', CodePointText, nullable=False),
    sa.Column('quantities', CodePointText, nullable=False),
    sa.PrimaryKeyConstraint('team_id', 'first_day', 'api', 'app_id', name=op.f('pk_usage_months'))
    )
    op.create_table('usage_views',
    sa.Column('view_no', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('through_batch', sa.BigInteger(), nullable=False),
    sa.Column('at_us', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('view_no', name=op.f('pk_usage_views'))
    )
    op.create_table('standings',
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('as_of_us', sa.BigInteger(), nullable=False),
    sa.Column('through_batch', sa.BigInteger(), nullable=False),
    sa.Column('load_no', sa.BigInteger(), nullable=False),
    sa.Column('cycle_start_us', sa.BigInteger(), nullable=True),
    sa.Column('cycle_end_us', sa.BigInteger(), nullable=True),
    sa.Column('time_zone', CodePointText, nullable=False),
    sa.Column('subscription_id', CodePointText, nullable=False),
    sa.Column('currency', CodePointText, nullable=False),
    sa.Column('spend_minor', sa.BigInteger(), nullable=False),
    sa.Column('projected_low_minor', sa.BigInteger(), nullable=True),
    sa.Column('projected_minor', sa.BigInteger(), nullable=True),
    sa.Column('projected_high_minor', sa.BigInteger(), nullable=True),
    sa.Column('unfunded_units', sa.BigInteger(), nullable=False),
    sa.Column('least_left_micro', sa.BigInteger(), nullable=True),
    sa.Column('first_end_us', sa.BigInteger(), nullable=True),
    sa.Column('changes_at_us', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('team_id', name=op.f('pk_standings'))
    )
    op.create_table('standing_refreshes',
    sa.Column('refresh_no', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('as_of_us', sa.BigInteger(), nullable=False),
    sa.Column('through_batch', sa.BigInteger(), nullable=False),
    sa.Column('load_no', sa.BigInteger(), nullable=False),
    sa.Column('rating_no', sa.BigInteger(), nullable=False),
    sa.Column('paces_day', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('refresh_no', name=op.f('pk_standing_refreshes'))
    )
    op.create_table('paces',
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('api', CodePointText, nullable=False),
    sa.Column('first_day', sa.BigInteger(), nullable=False),
    sa.Column('quantities', CodePointText, nullable=False),
    sa.PrimaryKeyConstraint('team_id', 'api', name=op.f('pk_paces'))
    )
    op.create_table('standing_balances',
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('source', CodePointText, nullable=False),
    sa.Column('subscription_id', CodePointText, nullable=False),
    sa.Column('grant_id', CodePointText, nullable=False),
    sa.Column('api', CodePointText, nullable=False),
    sa.Column('state', CodePointText, nullable=False),
    sa.Column('begins_at_us', sa.BigInteger(), nullable=False),
    sa.Column('granted_micro', sa.BigInteger(), nullable=False),
    sa.Column('used_micro', sa.BigInteger(), nullable=False),
    sa.Column('available_micro', sa.BigInteger(), nullable=False),
    sa.Column('ends_at_us', sa.BigInteger(), nullable=False),
    sa.Column('refreshes_at_us', sa.BigInteger(), nullable=False),
    sa.Column('per_day_micro', sa.BigInteger(), nullable=True),
    sa.Column('runs_out_low_us', sa.BigInteger(), nullable=True),
    sa.Column('runs_out_us', sa.BigInteger(), nullable=True),
    sa.Column('runs_out_high_us', sa.BigInteger(), nullable=True),
    sa.Column('forecast', CodePointText, nullable=False),
    sa.PrimaryKeyConstraint('team_id', 'source', 'subscription_id', 'grant_id', 'api', name=op.f('pk_standing_balances'))
    )
    op.create_table('standing_apis',
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('api', CodePointText, nullable=False),
    sa.Column('unit_size_micro', sa.BigInteger(), nullable=True),
    sa.Column('opening_micro', sa.BigInteger(), nullable=False),
    sa.Column('usage_micro', sa.BigInteger(), nullable=False),
    sa.Column('carry_micro', sa.BigInteger(), nullable=False),
    sa.Column('free_units', sa.BigInteger(), nullable=False),
    sa.Column('token_flex_units', sa.BigInteger(), nullable=False),
    sa.Column('flex_units', sa.BigInteger(), nullable=False),
    sa.Column('payg_units', sa.BigInteger(), nullable=False),
    sa.Column('unfunded_units', sa.BigInteger(), nullable=False),
    sa.Column('spend_minor', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('team_id', 'api', name=op.f('pk_standing_apis'))
    )
    op.create_table('alerts',
    sa.Column('alert_key', CodePointText, nullable=False),
    sa.Column('kind', CodePointText, nullable=False),
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('subject_id', CodePointText, nullable=False),
    sa.Column('raised_at_us', sa.BigInteger(), nullable=False),
    sa.Column('ended_at_us', sa.BigInteger(), nullable=True),
    sa.Column('detail', CodePointText, nullable=False),
    sa.PrimaryKeyConstraint('alert_key', name=op.f('pk_alerts'))
    )
    op.create_index(op.f('ix_alerts_kind'), 'alerts', ['kind'], unique=False)
    op.create_index(op.f('ix_alerts_team_id'), 'alerts', ['team_id'], unique=False)
    op.create_index(op.f('ix_ref_customers_customer_id_known_to'), 'ref_customers', ['customer_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_teams_team_id_known_to'), 'ref_teams', ['team_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_hubs_hub_id_known_to'), 'ref_hubs', ['hub_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_hub_teams_hub_id_known_to'), 'ref_hub_teams', ['hub_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_hub_teams_team_id_known_to'), 'ref_hub_teams', ['team_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_apps_app_id_known_to'), 'ref_apps', ['app_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_app_hubs_app_id_known_to'), 'ref_app_hubs', ['app_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_app_hubs_hub_id_known_to'), 'ref_app_hubs', ['hub_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_apis_api_known_to'), 'ref_apis', ['api', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_unit_rates_api_known_to'), 'ref_unit_rates', ['api', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_unit_prices_api_known_to'), 'ref_unit_prices', ['api', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_subscriptions_subscription_id_known_to'), 'ref_subscriptions', ['subscription_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_subscriptions_team_id_known_to'), 'ref_subscriptions', ['team_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_free_allowances_subscription_id_known_to'), 'ref_free_allowances', ['subscription_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_token_grants_subscription_id_known_to'), 'ref_token_grants', ['subscription_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_capacity_grants_subscription_id_known_to'), 'ref_capacity_grants', ['subscription_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_payment_methods_payment_method_id_known_to'), 'ref_payment_methods', ['payment_method_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_tax_rates_country_known_to'), 'ref_tax_rates', ['country', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_exchange_rates_currency_known_to'), 'ref_exchange_rates', ['currency', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_team_members_user_known_to'), 'ref_team_members', ['user', 'known_to'], unique=False)
    op.create_index(op.f('ix_ref_team_members_team_id_known_to'), 'ref_team_members', ['team_id', 'known_to'], unique=False)
    op.create_index(op.f('ix_quarantine_app_id_ending'), 'quarantine', ['app_id', 'ending'], unique=False)
    op.create_index(op.f('ix_invoices_issue_day'), 'invoices', ['issue_day'], unique=False)
    op.create_index(op.f('ix_credit_notes_issue_day'), 'credit_notes', ['issue_day'], unique=False)
    op.create_index(op.f('ix_payment_events_at_us'), 'payment_events', ['at_us'], unique=False)
    op.create_index(op.f('ix_alerts_ended_at_us_team_id'), 'alerts', ['ended_at_us', 'team_id'], unique=False)
    op.create_index(op.f('ix_batches_state_batch_no'), 'batches', ['state', 'batch_no'], unique=False)
    _open_cycles()


def _open_cycles() -> None:
    """Tables that are derived: made anew with cycles and prices, and filled by the next refresh."""
    for name in ('open_draws', 'open_carry', 'open_teams'):
        op.drop_table(name)
    op.execute('delete from open_ratings')
    op.create_table('open_teams',
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('from_us', sa.BigInteger(), nullable=False),
    sa.Column('pinned_batch', sa.BigInteger(), nullable=False),
    sa.Column('rating_no', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('team_id', name=op.f('pk_open_teams'))
    )
    op.create_index(op.f('ix_open_teams_rating_no'), 'open_teams', ['rating_no'], unique=False)
    op.create_table('open_draws',
    sa.Column('draw_no', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('cycle_start_us', sa.BigInteger(), nullable=False),
    sa.Column('api', CodePointText, nullable=False),
    sa.Column('source', CodePointText, nullable=False),
    sa.Column('subscription_id', CodePointText, nullable=False),
    sa.Column('grant_id', CodePointText, nullable=False),
    sa.Column('unit_price_micro', sa.BigInteger(), nullable=True),
    sa.Column('currency', CodePointText, nullable=False),
    sa.Column('period_start_us', sa.BigInteger(), nullable=True),
    sa.Column('charged_units', sa.BigInteger(), nullable=False),
    sa.Column('tokens_micro', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('draw_no', name=op.f('pk_open_draws'))
    )
    op.create_index(op.f('ix_open_draws_team_id'), 'open_draws', ['team_id'], unique=False)
    op.create_table('open_carry',
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('cycle_start_us', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('api', CodePointText, nullable=False),
    sa.Column('opening_micro', sa.BigInteger(), nullable=False),
    sa.Column('usage_micro', sa.BigInteger(), nullable=False),
    sa.Column('closing_micro', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('team_id', 'cycle_start_us', 'api', name=op.f('pk_open_carry'))
    )
