"""Open cycles rated provisionally"""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'

CodePointText = sa.Text().with_variant(sa.Text(collation='C'), 'postgresql')


def upgrade() -> None:
    op.create_table('open_ratings',
    sa.Column('rating_no', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('through_batch', sa.BigInteger(), nullable=False),
    sa.Column('load_no', sa.BigInteger(), nullable=False),
    sa.Column('until_us', sa.BigInteger(), nullable=False),
    sa.Column('at_us', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('rating_no', name=op.f('pk_open_ratings'))
    )
    op.create_table('open_teams',
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('from_us', sa.BigInteger(), nullable=False),
    sa.Column('pinned_batch', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('team_id', name=op.f('pk_open_teams'))
    )
    op.create_table('open_draws',
    sa.Column('draw_no', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('api', CodePointText, nullable=False),
    sa.Column('source', CodePointText, nullable=False),
    sa.Column('subscription_id', CodePointText, nullable=False),
    sa.Column('grant_id', CodePointText, nullable=False),
    sa.Column('period_start_us', sa.BigInteger(), nullable=True),
    sa.Column('charged_units', sa.BigInteger(), nullable=False),
    sa.Column('tokens_micro', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('draw_no', name=op.f('pk_open_draws'))
    )
    op.create_index(op.f('ix_open_draws_team_id'), 'open_draws', ['team_id'], unique=False)
    op.create_table('open_carry',
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('api', CodePointText, nullable=False),
    sa.Column('closing_micro', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('team_id', 'api', name=op.f('pk_open_carry'))
    )
