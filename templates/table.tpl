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
% include('_errors.tpl')
% if page.saved:
%   include('_saved.tpl', saved=page.saved)
% end
% if page.params or page.search is not None:
%   include('_filter.tpl')
% end
% if page.chart:
%   include('_chart.tpl', chart=page.chart)
% end
% rows = page.rows.html
% if page.rows and page.several:
%   include('_several.tpl', bar=page.several.bar)
% end
% include('_refresh.tpl')
% if page.rows:
% if len(page.columns) > 4:
<p class="all-fields"><input type="checkbox" id="all-fields"> <label for="all-fields">{{t("table.all_fields")}}</label></p>
% end
<div class="scroll" role="region" aria-labelledby="table-caption" tabindex="0">
<table class="data cards">
  <caption id="table-caption" class="visually-hidden">{{page.title}}</caption>
  <thead><tr>
%   if page.several:
    <th class="tick" scope="col"><span class="visually-hidden">{{t("several.column")}}</span></th>
%   end
%   for column in page.columns:
    <th scope="col" class="{{'num' if column.numeric else ''}}"
%     if column.sorted:
      aria-sort="{{column.sorted}}"
%     end
    >
%     if column.sort_href:
      <a href="{{column.sort_href}}">{{column.title}}</a>
%     else:
      {{column.title}}
%     end
    </th>
%   end
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
