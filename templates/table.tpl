% rebase('layout.tpl')
<div class="head">
  <div>
    <h1><bdi>{{page.title}}</bdi></h1>
% if page.note:
    <p class="note">{{page.note}}</p>
% end
  </div>
% if page.create_href or page.share_href or page.choosing:
  <div class="tools">
{{!page.choosing}}
%   if page.calendar_href:
    <a class="button" href="{{page.calendar_href}}">{{t("links.calendar")}}</a>
%   end
%   if page.share_href:
    <a class="button" href="{{page.share_href}}">{{t("links.share_short")}}</a>
%   end
%   if page.import_href:
    <a class="button" href="{{page.import_href}}">{{t("import.title")}}</a>
%   end
%   if page.create_href:
    <a class="button solid" href="{{page.create_href}}">{{page.create}}</a>
%   end
  </div>
% end
</div>
% if page.errors:
%   include('_errors.tpl')
% end
% if page.saved:
%   include('_saved.tpl', saved=page.saved)
% end
% if page.filter:
{{!page.filter}}
% elif page.params or page.search is not None:
%   include('_filter.tpl')
% end
% if page.refresh_s:
%   include('_refresh.tpl')
% end
% if page.chart:
%   include('_chart.tpl', chart=page.chart)
% end
% rows = page.rows.html
% if page.rows and page.several:
%   include('_several.tpl', bar=page.several.bar)
% end
% if page.rows:
% if len(page.columns) > 4:
<p class="all-fields"><input type="checkbox" id="all-fields"> <label for="all-fields">{{t("table.all_fields")}}</label></p>
% end
<div class="scroll" role="region" aria-labelledby="table-caption" tabindex="0">
<table class="data cards">
  <caption id="table-caption" class="visually-hidden">{{page.title}}</caption>
  <thead><tr>
{{!page.heads}}
  </tr></thead>
  <tbody>
{{!rows}}
  </tbody>
  {{!page.totals}}
</table>
</div>
%   if page.no_totals:
<p class="no-totals">{{!page.no_totals}}</p>
%   end
% else:
<div class="empty">
  <p>{{page.empty}}</p>
</div>
% end
% include('_under.tpl')
% if page.refresh_s:
</div>
% end
